"""Plan of a training: GPU memory, number of videos, clips per step."""
import weakref
from pathlib import Path
from typing import Dict, Iterable

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmaction.structures import ActionDataSample
from ..utils import read_lines
from ..utils.clip_shape import find_clip_length, find_frame_size
from ..utils.config_arguments import find_name
from .complexity import build_on_meta

AMP_WRAPPERS = ('AmpOptimWrapper', 'OptionalAmpOptimWrapper')


class LiveMemory(TorchDispatchMode):
    """Track the bytes of all tensors that are alive at the same time.

    Args:
        known (Iterable[Tensor]): Tensors that are not counted.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self._storages = {x.untyped_storage()._cdata for x in known}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and count its outputs, except for views."""
        result = func(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages.add(key)
            self.now += size
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._storages.remove(key)
        self.now -= size


def make_fake(model: nn.Module) -> None:
    """Replace tensors of a model on the meta device by fake tensors.

    Fake tensors have no data either, but they have a device. Without one,
    neither autocast nor the attention kernel of the training would be used.
    """
    for module in model.modules():
        tensors = [*module.named_parameters(recurse=False)]
        for name, tensor in tensors + [*module.named_buffers(recurse=False)]:
            fake = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype)
            # Assignment would read LoRA's weight, which is computed.
            if isinstance(tensor, nn.Parameter):
                module._parameters[name] = nn.Parameter(
                    fake, tensor.requires_grad)
            else:
                module._buffers[name] = fake
        if isinstance(module, nn.LayerNorm):
            # Autocast does this on GPUs, but not on the CPU of fake tensors.
            module.register_forward_pre_hook(lambda _, x: x[0].float())


def build_for_training(cfg: Config) -> nn.Module:
    """Build the model of a training on the meta device."""
    # Compiled blocks hide their operations.
    return build_on_meta(cfg.model, compile=False).train()


def count_states(optimizer: dict) -> int:
    """Count the tensors that an optimizer keeps for each parameter."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    built = OPTIMIZERS.build(dict(optimizer, params=[parameter]))
    built.step()
    # Other states are one number per parameter, such as the step.
    return sum(
        isinstance(value, Tensor) and value.shape == parameter.shape
        for value in built.state[parameter].values())


def state_memory(cfg: Config, gpus: int) -> Dict[str, int]:
    """Compute the memory that a GPU needs between steps.

    Args:
        cfg (Config): Config of a training.
        gpus (int): Number of GPUs.

    Returns:
        dict[str, int]: Bytes by purpose.

    Raises:
        ValueError: A strategy shards this memory over the GPUs.
    """
    if cfg.get('strategy'):
        raise ValueError(
            'what `strategy` leaves on each GPU is not counted; plan without '
            'it, for more memory than it takes, by --cfg-options '
            'strategy=None')
    optimizer = cfg.optim_wrapper.optimizer
    model = build_for_training(cfg)
    weights = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
    trained = sum(x.nbytes for x in model.parameters() if x.requires_grad)
    memory = {
        'weights': weights,
        'gradients': trained,
        find_name(optimizer.type): count_states(optimizer) * trained
    }
    if gpus > 1:
        # DistributedDataParallel gathers the gradients in copies.
        memory['DDP'] = trained
    hooks = cfg.get('custom_hooks') or []
    if any(find_name(hook['type']).endswith('EMAHook') for hook in hooks):
        memory['EMA'] = weights
    return memory


def clip_memory(cfg: Config, batch: int) -> int:
    """Compute the peak bytes of a step, beyond weights and gradients.

    The forward and backward passes run on tensors without data, operation by
    operation. So the result accounts for recomputed blocks, mixed precision
    and temporary tensors of the backward pass.

    Args:
        cfg (Config): Config of a training.
        batch (int): Number of clips in the batch of one GPU.
    """
    model = build_for_training(cfg)
    amp = find_name(cfg.optim_wrapper.get('type')) in AMP_WRAPPERS
    head = model.cls_head
    splits = 'train', 'test'
    size = find_frame_size(cfg, model.backbone.image.img_size, splits)
    shape = find_clip_length(cfg, splits), *size
    with FakeTensorMode():
        make_fake(model)
        if hasattr(head, 'class_names'):
            head._text_features = torch.empty(head.num_classes,
                                              head.in_channels)
        label = torch.empty(head.num_classes)
        samples = [ActionDataSample().set_gt_label(label)] * batch
        with LiveMemory((*model.parameters(), *model.buffers())) as live:
            # Gradients exist from the first accumulated iteration on.
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.empty_like(parameter)
            gradients = live.now
            clips = torch.empty(batch, 1, 3, *shape)
            # float16 needs as much, but not every PyTorch has it on CPUs.
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                losses = model(clips, samples, mode='loss')
            sum(losses.values()).backward()
    return live.peak - gradients


def count_videos(cfg: Config) -> int:
    """Count the videos of the annotation file for training.

    Raises:
        ValueError: There is no such file, it is empty, or the data set wraps
            others.
    """
    dataset = cfg.train_dataloader.get('dataset') or dict()
    if 'dataset' in dataset or 'datasets' in dataset:
        raise ValueError(f'{find_name(dataset.type)} wraps other data sets; '
                         'give the number of videos with --videos')
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file', ''))
    videos = 0
    if path.is_file():
        videos = sum(
            bool(line.strip())
            for line in read_lines(str(path), 'surrogateescape'))
    if not videos:
        raise ValueError(
            f"annotation file '{path}' does not exist or is empty; prepare "
            'the dataset, fix `train_dataloader.dataset.ann_file`, or give '
            'the number of videos with --videos')
    return videos


def share_of_step(cfg: Config, gpus: int) -> int:
    """Count the clips of an optimizer step on one GPU.

    Raises:
        ValueError: The clips cannot be divided equally among the GPUs.
    """
    scaling = cfg.get('auto_scale_lr') or {}
    total = scaling.get('base_batch_size',
                        cfg.train_dataloader.batch_size * gpus)
    total *= cfg.optim_wrapper.get('accumulative_counts', 1)
    if total % gpus:
        raise ValueError(f'{gpus} GPUs cannot share the {total} clips of a '
                         'step equally; fix --gpus')
    return total // gpus
