_base_ = [
    '_base_/models/ila_vitl14_linear.py', '_base_/datasets/sthv2.py',
    '_base_/schedules/adamw_50e_linear.py', '_base_/default_runtime.py'
]
