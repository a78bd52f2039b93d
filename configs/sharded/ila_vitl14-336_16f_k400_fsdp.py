_base_ = ['../ila_vitl14-336_16f_k400.py', '../_base_/strategies/fsdp.py']

# The model itself uses mixed precision, without loss scaling.
model = dict(bf16=True)
optim_wrapper = dict(dtype='float32')
