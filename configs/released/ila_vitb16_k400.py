_base_ = ['../ila_vitb16_k400.py']

model = dict(backbone=dict(form='released'))
