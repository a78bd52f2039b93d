_base_ = ['sthv2_16f.py']

crop_size = 336

train_pipeline = _base_.train_pipeline
train_pipeline[3].scale = (-1, 384)
train_pipeline[4].input_size = crop_size
train_pipeline[5].scale = (crop_size, crop_size)
val_pipeline = _base_.val_pipeline
val_pipeline[3].scale = (-1, 384)
val_pipeline[4].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[3].scale = (-1, crop_size)
test_pipeline[4].crop_size = crop_size

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
