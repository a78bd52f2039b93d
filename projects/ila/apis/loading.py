import os
import warnings
from pathlib import Path
from typing import List, Optional, Union

from mmengine.config import Config, ConfigDict
from torch import nn

from mmaction.registry import MODELS
from ..models.recognizers.loading import build_with_weights
from ..utils import check_device, explaining_builds
from ..utils.config_arguments import find_name
from ..weights.model_folder import is_model_folder, load_any_config

ModelConfig = Union[str, Path, Config, dict]


def _config_folders() -> List[Path]:
    """Folders of configs: ``.mim`` of a wheel, or ``configs`` of a clone."""
    package = Path(__file__).resolve().parents[2]
    return [package / '.mim/configs', package.parent / 'configs']


def list_configs() -> List[str]:
    """List the names that :func:`find_config` accepts."""
    return sorted({
        path.relative_to(folder).with_suffix('').as_posix()
        for folder in _config_folders()
        for path in folder.rglob('*.py') if '_base_' not in path.parts
    })


def find_config(name: str) -> Config:
    """Load a config by its path or name, or the config of a shared model.

    Args:
        name (str): A path; or a name in this project, such as
            ``'clip_vitb16_zeroshot'`` or, with a folder,
            ``'released/ila_vitb16_k400'``; or a shared model, see
            :func:`read_model_config`.
    """
    if is_model_folder(name) or os.path.isfile(name):
        return load_any_config(name)
    for folder in _config_folders():
        path = folder / f'{name}.py'
        if path.is_file():
            return load_any_config(str(path))
    raise ValueError(f"'{name}' is neither a config file nor the name of "
                     "one of this project's; fix its path, or take one of "
                     '`ILAInferencer.list_models()`')


def find_model_config(model: ModelConfig) -> dict:
    """Get the config of a model.

    Args:
        model (str | Path | Config | dict): A config or its ``model``, a
            config file, or the name of a config of this project.

    Raises:
        ValueError: There is no such config.
    """
    if isinstance(model, (str, Path)):
        model = find_config(str(model))
    if isinstance(model, Config):
        model = model.get('model')
    return model


def load_recognizer(model_cfg: ModelConfig,
                    path: Optional[str],
                    device: str = 'cpu',
                    deploy: bool = False,
                    **settings) -> nn.Module:
    """Build a recognizer for evaluation, with exactly a checkpoint's weights.

    Args:
        model_cfg (str | Path | Config | dict): Config of an
            ``ILARecognizer``, see :func:`find_model_config`.
        path (str, optional): The checkpoint, of this project or of the
            released code; see :func:`local_copy` for paths. With weights of
            CLIP, other parts stay untrained, and a warning says so. None uses
            random weights, for trials.
        device (str): Device of the model.
        deploy (bool): Whether it is for inference only, see
            :meth:`ILARecognizer.switch_to_deploy`.
        **settings: Changes to the config, such as ``compile=False``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read or is not a checkpoint of this
            model, the model is not an ``ILARecognizer``, or there is no such
            device.
    """
    model_cfg = find_model_config(model_cfg)
    kind = find_name((model_cfg or {}).get('type', 'missing'))
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
        model = build_with_weights(model_cfg, path)
    model.eval().to(device)
    if deploy:
        model.switch_to_deploy()
    return model
