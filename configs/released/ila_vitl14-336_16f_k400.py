_base_ = ['../ila_vitl14-336_16f_k400.py']

model = dict(backbone=dict(form='released'))
