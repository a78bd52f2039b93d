_base_ = ['ila_figures.py']

# The same frames in random order: what is left without the motion?
test_pipeline = sum([[dict(type='ShuffleFrames'), step]
                     if step['type'] == 'SafePyAVDecode' else [step]
                     for step in _base_.test_pipeline], [])
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
