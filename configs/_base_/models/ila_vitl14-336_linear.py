_base_ = ['ila_vitl14_linear.py']

model = dict(backbone=dict(img_size=336))
