import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmaction.structures import ActionDataSample


class Recognizer(BaseModel):
    """Its loss is not a number in the third iteration."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, inputs, data_samples, mode):
        self.calls += 1
        bad = self.weight * (float('nan') if self.calls == 3 else 1.)
        return dict(loss_cls=bad, loss_align=2 * self.weight, accuracy=bad)


class Videos(BaseDataset):

    def load_data_list(self):
        return [dict(index=index) for index in range(8)]

    def prepare_data(self, idx):
        sample = ActionDataSample().set_gt_label(idx)
        sample.set_metainfo(dict(filename=f'{idx}.mp4'))
        return dict(inputs=torch.full((2, ), idx), data_samples=sample)


def test_stops_before_the_weights_are_spoilt(tmp_path):
    runner = Runner(
        Recognizer(),
        str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=Videos(),
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.125)),
        custom_hooks=[dict(type='InvalidLossHook')],
        default_scope='mmaction',
        experiment_name=tmp_path.name)
    with pytest.raises(RuntimeError) as caught:
        runner.train()
    path = tmp_path / 'invalid_loss_iter_3_rank_0.pth'
    message = str(caught.value)
    for words in ('iteration 3', 'loss_cls nan', str(path), '4.mp4, 5.mp4',
                  'learning rate'):
        assert words in message
    saved = torch.load(path, weights_only=True)
    assert saved['files'] == ['4.mp4', '5.mp4']
    assert [label.item() for label in saved['labels']] == [4, 5]
    assert torch.stack(saved['inputs']).tolist() == [[4, 4], [5, 5]]
    # Two steps of a gradient of 3, and none of what is no number.
    assert saved['state_dict']['weight'].item() == 1 - 2 * 3 * 0.125
    assert saved['losses']['loss_align'] == 2 * 0.25
