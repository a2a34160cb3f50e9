"""The one exception whose text is meant for people.

Whatever a user can get wrong (a missing file, a foreign checkpoint, a folder that is no dataset) is raised as a
:class:`UserError`. The command line and the scripts in ``tools/`` print it as one sentence and exit with code 2;
everything else is a defect of ours and keeps its traceback.
"""


class UserError(Exception):
    """A fault the user can mend: one sentence that names the file, what is wrong and what to do.

    Args:
        message (str): The sentence, without a trailing newline.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # A fault in a data loader's worker is raised anew by PyTorch with the worker's whole traceback as its message,
        # of which the sentence is the end.
        if message.startswith('Caught UserError in '):
            message = message.rpartition('mmweather.errors.UserError: ')[2].strip()
        super().__init__(message)
