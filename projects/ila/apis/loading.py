import warnings
from pathlib import Path
from typing import Optional

from mmengine.config import Config, ConfigDict
from mmengine.runner import CheckpointLoader
from torch import nn

from mmaction.registry import MODELS
from mmaction.utils import get_str_type
from ..utils import check_device, explaining_builds, naming_source, read_config
from ..weights import adopt_stem, convert_all_weights, find_weights
from ..weights.names import StateDict


def find_config(name: str) -> Config:
    """Load a config file, or one of this project's by its name.

    Args:
        name (str): Such as ``'clip_vitb16_zeroshot'``, or with a folder as in
            ``'released/ila_vitb16_k400'``.
    """
    if Path(name).is_file():
        return read_config(name)
    package = Path(__file__).resolve().parents[2]
    # A wheel has them in `.mim`, a clone beside the package.
    for folder in (package / '.mim', package.parent):
        path = folder / 'configs' / f'{name}.py'
        if path.is_file():
            return read_config(path)
    raise ValueError(f"'{name}' is neither a config file nor the name of "
                     "one of this project's; fix its path")


def load_recognizer(model_cfg: ConfigDict,
                    path: Optional[str],
                    device: str = 'cpu',
                    deploy: bool = False,
                    **settings) -> nn.Module:
    """Build a recognizer for evaluation, with exactly a checkpoint's weights.

    Args:
        model_cfg (ConfigDict): Config of an ``ILARecognizer``.
        path (str, optional): The checkpoint, of this project or of the
            released code; see :func:`local_copy` for names. Weights of CLIP
            leave the other parts untrained, with a warning. None, for
            trials, means random weights.
        device (str): Where the model is going to be.
        deploy (bool): Whether it is for inference only, see
            :meth:`ILARecognizer.switch_to_deploy`.
        **settings: Change the config, such as ``compile=False``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read or is not a checkpoint of this model,
            the model is no ``ILARecognizer``, or there is no such device.
    """
    kind = get_str_type((model_cfg or {}).get('type', 'missing'))
    if not kind.endswith('ILARecognizer'):
        raise ValueError(f"`model.type` of the config is '{kind}', not "
                         "'ILARecognizer'; take a config of ILA")
    check_device(device)
    model_cfg = ConfigDict(model_cfg, **settings)
    if path is None:
        warnings.warn('the weights are random, and so are predictions')
        with explaining_builds():
            model = MODELS.build(model_cfg)
    else:
        weights = read_weights(path)
        with explaining_builds():
            model = MODELS.build(adopt_stem(model_cfg, weights))
        weights = convert_all_weights(model, weights, path)
        with naming_source(path):
            model.load_state_dict(weights, strict=False)
    model.eval().to(device)
    if deploy:
        model.switch_to_deploy()
    return model


def read_weights(path: str) -> StateDict:
    """Read the weights of a checkpoint; see :func:`load_recognizer`."""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    return find_weights(checkpoint, path)
