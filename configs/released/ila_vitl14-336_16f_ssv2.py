_base_ = ['../ila_vitl14-336_16f_ssv2.py']

model = dict(backbone=dict(form='released'))
