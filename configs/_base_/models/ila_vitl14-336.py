_base_ = ['ila_vitl14.py']

model = dict(backbone=dict(img_size=336))
