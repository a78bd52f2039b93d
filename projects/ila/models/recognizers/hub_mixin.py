from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Union

from huggingface_hub import ModelCard, ModelHubMixin, get_token
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from mmengine.config import Config, ConfigDict
from torch import nn

from ...utils import is_explained
from ...utils.config_json import select_shared
from ...weights import hash_weights, write_checkpoint
from ...weights.model_folder import read_model_config
from ...weights.remote_file import explain_hub
from ..heads import ILATextHead
from .loading import build_with_weights
from .model_card import TEMPLATE, describe_model


@contextmanager
def _explaining_push(repository: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Its type depends on what goes wrong.
        if is_explained(error):
            raise
        raise ValueError(
            f"the model cannot be pushed to '{repository}'; fix its name, "
            f'OWNER/NAME, or the access to it ({explain_hub(error)})'
        ) from None


class HubMixin(
        ModelHubMixin,
        model_card_template=TEMPLATE,
        library_name='mmaction2',
        pipeline_tag='video-classification',
        tags=['ila', 'action-recognition']):
    """Save and load a recognizer in a folder or on Hugging Face's hub.

    Its files are ``config.json`` with the model and the pipelines that read
    videos, ``model.safetensors``, and ``README.md``, the model card.
    """

    def save_pretrained(self,
                        save_directory: Union[str, Path],
                        *,
                        config: Optional[Union[Config, dict]] = None,
                        model_card_kwargs: Optional[dict] = None,
                        **kwargs) -> Optional[str]:
        """Save the model in a folder; an existing model card is kept.

        Args:
            save_directory (str | Path): The folder; created if needed.
            config (Config | dict, optional): Config with ``val_dataloader``
                and ``test_dataloader``. Defaults to ``cfg`` of the model,
                which MMAction2's ``init_recognizer`` sets. Without one the
                model cannot be used with ``ILAInferencer``.
            model_card_kwargs (dict, optional): Contents of the card, see
                :func:`describe_run`.
            **kwargs: ``push_to_hub=True`` with ``repo_id`` and arguments of
                :meth:`push_to_hub`.

        Returns:
            str, optional: URL of the commit if the model is pushed.

        Raises:
            ValueError: The layers of the model are folded for inference, or
                its config could not be read again.
        """
        if self.backbone.deployed:
            raise ValueError(
                'the layers of the model are folded for inference; save the '
                'one that `load_recognizer` or `from_pretrained` returns, '
                'before `switch_to_deploy`')
        if config is None:
            config = getattr(self, 'cfg', None) or dict()
        shared = select_shared(self._find_model_config(), config)
        card = {**describe_model(self, shared), **(model_card_kwargs or {})}
        card.setdefault('repo_id', kwargs.get('repo_id'))
        return super().save_pretrained(
            save_directory, config=shared, model_card_kwargs=card, **kwargs)

    def _find_model_config(self) -> dict:
        """Find the arguments of the model, with its current class names.

        The mixin records all arguments except those that JSON cannot hold.
        """
        model = dict(type=type(self).__name__, **self._hub_mixin_config)
        for part in ('backbone', 'cls_head'):
            if not isinstance(model.get(part), dict):
                raise ValueError(f'`model.{part}` holds more than JSON can; '
                                 'write classes by their names')
        model.pop('compile', None)  # It depends on the training machine.
        if isinstance(self.cls_head, ILATextHead):
            model['cls_head'] = dict(
                model['cls_head'],
                num_classes=self.cls_head.num_classes,
                class_names=self.cls_head.class_names,
                templates=self.cls_head.templates)
        return model

    def _save_pretrained(self, save_directory: Path) -> None:
        if isinstance(self.cls_head, ILATextHead):
            self.cls_head.text_features  # Compute them, so they are saved.
        weights = self.state_dict()
        meta = dict(ila=dict(weights_sha256=hash_weights(weights)))
        write_checkpoint(
            str(save_directory / SAFETENSORS_SINGLE_FILE),
            dict(state_dict=weights, meta=meta))

    @classmethod
    def from_pretrained(cls,
                        pretrained_model_name_or_path: Union[str, Path],
                        *,
                        force_download: bool = False,
                        token: Optional[Union[str, bool]] = None,
                        cache_dir: Optional[Union[str, Path]] = None,
                        local_files_only: bool = False,
                        revision: Optional[str] = None,
                        **model_kwargs) -> nn.Module:
        """Load a saved or pushed model; no code is run from it.

        Args:
            pretrained_model_name_or_path (str | Path): A folder, or
                ``owner/name`` of a repository.
            force_download (bool): Whether to download it again.
            token (str | bool, optional): See ``huggingface_hub``.
            cache_dir (str | Path, optional): Where downloads are kept.
            local_files_only (bool): Whether to use only earlier downloads.
            revision (str, optional): Branch, tag or commit.
            **model_kwargs: Changes to the config, such as ``bf16=True``.

        Returns:
            nn.Module: The recognizer, in evaluation mode and on the CPU.

        Raises:
            ValueError: The model cannot be fetched, or is of another class.
        """
        cfg = read_model_config(
            str(pretrained_model_name_or_path),
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision)
        model = build_with_weights(
            ConfigDict(cfg.model, **model_kwargs), cfg.load_from)
        if not isinstance(model, cls):
            raise ValueError(f"'{cfg.filename}': `model.type` is "
                             f"'{cfg.model.type}', not '{cls.__name__}'; "
                             'take the folder of such a model')
        model.cfg = cfg
        return model.eval()

    def push_to_hub(self,
                    repo_id: str,
                    *,
                    token: Optional[str] = None,
                    model_card_kwargs: Optional[dict] = None,
                    **kwargs) -> str:
        """Save the model in a repository of the hub.

        Args:
            repo_id (str): ``owner/name``; created if needed.
            token (str, optional): Defaults to the token of ``hf auth login``
                or ``HF_TOKEN``.
            model_card_kwargs (dict, optional): See :meth:`save_pretrained`.
            **kwargs: Other arguments of ``ModelHubMixin.push_to_hub``, such
                as ``private``.

        Returns:
            str: URL of the commit.

        Raises:
            ValueError: There is no token, or the hub cannot be reached or
                refuses it.
        """
        check_token(token)
        card = dict(model_card_kwargs or {}, repo_id=repo_id)
        with _explaining_push(repo_id):
            return super().push_to_hub(
                repo_id, token=token, model_card_kwargs=card, **kwargs)

    def generate_model_card(self,
                            license: Optional[str] = None,
                            **kwargs) -> ModelCard:
        card = super().generate_model_card(license=license, **kwargs)
        card.data.license = license
        return card


def check_token(token: Optional[str] = None) -> None:
    """Check that there is a token to push with.

    Raises:
        ValueError: There is none.
    """
    if not (token or get_token()):
        raise ValueError(
            'pushing needs a token of Hugging Face\'s hub; log in '
            'with `hf auth login`, or set HF_TOKEN')
