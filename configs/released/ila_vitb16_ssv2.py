_base_ = ['../ila_vitb16_ssv2.py']

model = dict(backbone=dict(form='released'))
