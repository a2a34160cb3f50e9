"""``mmweather train``: the script ``tools/train.py`` under another name, for machines without a checkout."""
import click


# Everything, --help too, is the script's own: two lists of options would grow apart.
@click.command(context_settings={'ignore_unknown_options': True}, add_help_option=False)
@click.argument('arguments', nargs=-1, type=click.UNPROCESSED)
def command(arguments):
    """Trains a model."""
    from mmweather.engine.run import train_main
    return train_main(list(arguments), prog='mmweather train')
