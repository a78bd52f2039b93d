_base_ = ['ila_in1k-b16_k400.py']

# Any `VisionTransformer` or `Eva` model of timm can take its place. timm
# fetches the weights when a training starts.
model = dict(
    backbone=dict(
        image=dict(
            _delete_=True,
            type='TimmImage',
            model='vit_base_patch16_dinov3.lvd1689m',
            pretrained=True,
            img_size=224)),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))

train_pipeline = [
    dict(step, value=(124, 116,
                      104)) if step.get('op') == 'RandomErasing' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# timm's names of norms and of the layers' scales.
optim_wrapper = dict(
    paramwise_cfg={
        'norm1.weight': dict(decay_mult=0.),
        'norm2.weight': dict(decay_mult=0.),
        'gamma_1': dict(decay_mult=0.),
        'gamma_2': dict(decay_mult=0.)
    })
