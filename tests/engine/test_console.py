"""What is logged reaches the file, and the console what one watches."""
import logging

import pytest
from mmengine.logging import MMLogger, print_log
from torch import nn

from projects.ila.engine.console import hide_details, report_loading

DETAILS = ('\n------\nSystem environment:', 'Config:\na = 1',
           'paramwise_options -- neck.weight: lr = 1',
           '"FileClient" will be deprecated in future.')


@pytest.mark.parametrize('level, shown', [('INFO', 1), ('DEBUG', 5)])
def test_details_are_in_the_file(tmp_path, capsys, level, shown):
    path = tmp_path / 'run.log'
    logger = MMLogger.get_instance(
        str(path), log_file=str(path), log_level=level)
    for _ in range(2):  # Twice is as once.
        hide_details(logger)
    for text in (*DETAILS, 'loss: 0.5'):
        print_log(text, 'current', logging.WARNING)
    assert capsys.readouterr().out.count('WARNING') == shown
    assert path.read_text().count('WARNING') == 5


def test_loaded_weights_are_counted(caplog):
    model = nn.ModuleDict(dict(a=nn.Linear(2, 2), b=nn.BatchNorm1d(2)))
    weights = {'a.weight': model['a'].weight, 'c.d.e': model['a'].weight}
    logger = logging.getLogger('console')
    report_loading(model, logger)
    with caplog.at_level(logging.INFO, 'console'):
        model.load_state_dict(weights, strict=False)
        model.load_state_dict(model.state_dict())
    assert caplog.messages == [
        'weights: 2 of 7 loaded, 5 missing (a.bias, b.weight, b.bias, '
        'b.running_mean, ...), 1 unexpected (c.d)',
        'weights: 7 of 7 loaded, 0 missing, 0 unexpected'
    ]
