_base_ = [
    '_base_/models/ila_vitb16.py', '_base_/datasets/kinetics700.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]

model = dict(
    # One name per line in the order of the labels, as in MMAction2's
    # tools/data/kinetics/label_map_k700.txt.
    cls_head=dict(class_names='data/kinetics700/label_map_k700.txt'))
