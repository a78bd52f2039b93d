_base_ = ['../ila_vitl14_k400.py']

model = dict(backbone=dict(form='released'))
