_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/kinetics600.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

num_classes = 600

model = dict(
    # One name per line in the order of the labels, as in MMAction2's
    # tools/data/kinetics/label_map_k600.txt.
    cls_head=dict(class_names='data/kinetics600/label_map_k600.txt'),
    data_preprocessor=dict(
        blending=dict(augments=[
            dict(type='MixupBlending', num_classes=num_classes, alpha=0.8),
            dict(type='CutmixBlending', num_classes=num_classes, alpha=1.)
        ])))
