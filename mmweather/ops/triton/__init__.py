"""GPU kernels in Triton, one module per operator, each with a ``forward`` and a ``backward``.

Only :mod:`mmweather.ops.backend` imports these modules, and only when a tensor asks for them: Triton is imported and
kernels are compiled then, never before. ``TRITON_INTERPRET=1`` runs them on CPU tensors, which is how tests check them.
"""
