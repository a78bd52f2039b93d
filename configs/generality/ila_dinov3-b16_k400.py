_base_ = ['ila_dinov2-b14_k400.py']

# Any `VisionTransformer` or `Eva` model of timm can be used instead. timm
# downloads the weights when a training starts.
model = dict(
    backbone=dict(
        image=dict(
            _delete_=True,
            type='TimmImage',
            model='vit_base_patch16_dinov3.lvd1689m',
            pretrained=True,
            img_size=224)))

# timm's names of norms and of LayerScale, without weight decay.
optim_wrapper = dict(
    paramwise_cfg={
        'norm1.weight': dict(decay_mult=0.),
        'norm2.weight': dict(decay_mult=0.),
        'gamma_1': dict(decay_mult=0.),
        'gamma_2': dict(decay_mult=0.)
    })
