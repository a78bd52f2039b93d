_base_ = ['ila_motion.py']

# The same frames in random order: what is left without the motion?
test_pipeline = _base_.test_pipeline
test_pipeline.insert(2, dict(type='ShuffleFrames'))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
