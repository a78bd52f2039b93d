"""Test an exported recognizer on a config's videos, on the CPU.

The figures are those of ``tools/test.py`` with the checkpoint that was
exported: same data, views and metrics.
"""
import argparse
import sys
from pathlib import Path
from typing import Callable, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from cli import check_num_classes  # noqa: E402
from cli import check_outputs  # noqa: E402
from cli import exit_on_bad_input  # noqa: E402
from cli import keep_predictions  # noqa: E402
from cli import add_config_arguments, load_overridden_config  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch import Tensor  # noqa: E402

from projects.ila.apis.deployment import load_exported  # noqa: E402
from projects.ila.models import load_class_names  # noqa: E402
from projects.ila.models.heads import ILAHead  # noqa: E402


class ExportedHead(ILAHead):
    """A head that is given the logits and averages them over the views."""

    def init_weights(self) -> None:
        """There are none."""

    def forward(self, feats: Tensor, **kwargs) -> Tensor:
        """Return the logits as they are."""
        return feats


class ExportedRecognizer(BaseModel):
    """An exported file as a recognizer.

    Args:
        run (Callable): From :func:`load_exported`.
        num_classes (int): Number of classes.
        cls_head (dict): Config of the head that was exported.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], num_classes: int,
                 cls_head: dict) -> None:
        super().__init__()
        self.run = run
        settings = {
            key: cls_head[key]
            for key in ('average_clips', 'loss_cls', 'multi_class')
            if key in cls_head
        }
        self.cls_head = ExportedHead(num_classes, in_channels=0, **settings)

    def forward(self, inputs: List[Tensor], data_samples: list,
                mode: str) -> list:
        """Predict videos.

        Args:
            inputs (list[Tensor]): uint8 views of each video,
                ``(M, 3, T, H, W)``.
            data_samples (list[:obj:`ActionDataSample`]): As many.
            mode (str): ``'predict'``.

        Returns:
            list[:obj:`ActionDataSample`]: The samples with predictions.
        """
        logits = torch.cat([self.run(views) for views in inputs])
        return self.cls_head.predict(logits, data_samples)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the test')
    parser.add_argument('file', help='exported .onnx or .pt2 file')
    parser.add_argument('--work-dir', help='folder of the logs')
    parser.add_argument('--dump', help='pickle file for the predictions')
    return parser.parse_args()


def check_classes(cfg: Config, meta: dict) -> None:
    """Refuse a config whose text head has other classes than a file.

    Raises:
        ValueError: It has.
    """
    source = cfg.model.cls_head.get('class_names')
    if source and load_class_names(source) != meta['class_names']:
        raise ValueError('`model.cls_head.class_names` are not those that '
                         'were exported; export the model again or mend them')


def main() -> None:
    args = parse_args()
    if args.dump:
        check_outputs(args.dump, suffixes=('.pkl', '.pickle'))
    cfg = load_overridden_config(args)
    if 'test_dataloader' not in cfg:
        sys.exit(f'{args.config} has no `test_dataloader`. Please take the '
                 'config that the checkpoint is tested with')
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    if args.dump:
        evaluators = [
            *evaluators,
            dict(type='DumpResults', out_file_path=args.dump)
        ]
    work_dir = args.work_dir or cfg.get(
        'work_dir', str(Path('work_dirs',
                             Path(args.config).stem)))
    with exit_on_bad_input():
        run, meta = load_exported(args.file)
        check_classes(cfg, meta)
        model = ExportedRecognizer(run, meta['num_classes'],
                                   cfg.model.cls_head)
        runner = Runner(
            model,
            work_dir,
            test_dataloader=cfg.test_dataloader,
            test_cfg=cfg.test_cfg,
            test_evaluator=evaluators,
            default_hooks=cfg.get('default_hooks'),
            custom_hooks=cfg.get('custom_hooks'),
            log_processor=cfg.get('log_processor'),
            default_scope=cfg.get('default_scope', 'mmaction'),
            randomness=cfg.get('randomness', dict(seed=None)),
            cfg=cfg)
        check_num_classes(cfg, runner, 'test')
        with keep_predictions(runner, args.dump):
            runner.test()


if __name__ == '__main__':
    main()
