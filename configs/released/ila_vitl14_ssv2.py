_base_ = ['../ila_vitl14_ssv2.py']

model = dict(backbone=dict(form='released'))
