_base_ = ['ila_vitb16.py']

model = dict(backbone=dict(arch='clip-b/32'))
