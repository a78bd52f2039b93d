_base_ = ['kinetics400_16f.py']

crop_size = 336
larger = dict(Resize=dict(scale=(-1, 384)))
train_sizes = dict(MultiScaleCrop=dict(input_size=crop_size), **larger)
val_sizes = dict(CenterCrop=dict(crop_size=crop_size), **larger)
test_sizes = dict(
    Resize=dict(scale=(-1, crop_size)), ThreeCrop=dict(crop_size=crop_size))

train_pipeline = [
    # The second Resize gives all crops the same size.
    dict(step, scale=(crop_size, crop_size)) if 'keep_ratio' in step else dict(
        step, **train_sizes.get(step['type'], {}))
    for step in _base_.train_pipeline
]
val_pipeline = [
    dict(step, **val_sizes.get(step['type'], {}))
    for step in _base_.val_pipeline
]
test_pipeline = [
    dict(step, **test_sizes.get(step['type'], {}))
    for step in _base_.test_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
