_base_ = [
    '_base_/models/ila_vitl14.py', '_base_/datasets/kinetics400.py',
    '_base_/schedules/adamw_50e.py', '_base_/default_runtime.py'
]
