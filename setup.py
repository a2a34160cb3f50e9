"""What mmweather is, needs and installs.

Besides the package two things are installed: the command ``mmweather``, and what ``mim`` looks for, which is the
scripts, the configs and the model index in ``<site-packages>/mmweather/.mim``, in wheels and in editable installs.
"""
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'mmweather' / 'version.py').read_text())[1]

REQUIRED = [
    # The first torch whose weights_only=True is tight (CVE-2025-32434): a foreign checkpoint is never unpickled.
    'torch>=2.6',
    'numpy>=1.26',
    # Brings matplotlib, PyYAML and the one OpenCV distribution, opencv-python. It is not named here a second time, so
    # that who swapped it for opencv-python-headless on a server keeps that one: they overwrite each other's files.
    'mmengine>=0.10.6',
    # Before 17, colours between full and limited range came out wrong; 17 is the last for Python 3.10.
    'av>=17',
    'click>=8.1',
    'rich>=12',
    'safetensors>=0.4',
]
EXTRAS = {
    # Nothing in mmweather needs mmcv. It is an extra, and never a requirement, because mmcv-lite and a full mmcv share
    # one folder: who has the full one must not be given the other. MMagic 1.2.0 wants it below 2.2.
    'mmcv': ['mmcv-lite>=2.1,<2.2'],
    'lpips': ['lpips'],
    # superpixels for the fog in photographed stereo pairs
    'fog': ['scikit-image'],
    'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
    'tensorboard': ['tensorboard'],
    # the page of `mmweather ui`
    'ui': ['gradio>=6'],
    'test': ['onnx', 'onnxruntime', 'onnxscript', 'pytest', 'pytest-xdist', 'scikit-image',
             'triton>=3.4; platform_system == "Linux"'],
    'lint': ['pre-commit', 'ruff'],
    'docs': ['furo', 'ipykernel', 'matplotlib', 'myst-parser', 'nbclient', 'nbformat', 'sphinx'],
}
EXTRAS['all'] = sorted({requirement for name in ('fog', 'lpips', 'onnx', 'tensorboard', 'ui')
                        for requirement in EXTRAS[name]})


def copy_mim_content(package):
    """Copies what mim looks for into an installed package.

    Args:
        package (Path): The folder ``mmweather`` of a wheel.
    """
    target = package / '.mim'
    for folder in ('tools', 'configs'):
        shutil.copytree(HERE / folder, target / folder, ignore=shutil.ignore_patterns('__pycache__', '*.pyc', '.*'))
    metafiles = ''.join(f'  - configs/{path.name}\n' for path in sorted((HERE / 'configs').glob('*.yml')))
    index = (HERE / 'model-index.yml').read_text().replace('  - configs/*.yml\n', metafiles)
    (target / 'model-index.yml').write_text(index)


class BuildWithMim(build_py):
    """Puts the mim content into a wheel."""

    def run(self):
        """Builds, then copies."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib, 'mmweather')
        # The folder may be from an earlier build, and what was removed since must not be installed.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        copy_mim_content(package)


class EditableWithMim(editable_wheel):
    """Puts the mim content into an editable install: a copy, made anew by every ``pip install -e .``."""

    def _run_build_commands(self, dist_name, unpacked_wheel, build_lib, tmp_dir):
        outputs = super()._run_build_commands(dist_name, unpacked_wheel, build_lib, tmp_dir)
        copy_mim_content(Path(unpacked_wheel, 'mmweather'))
        return outputs


setup(
    name='mmweather',
    version=VERSION,
    description='Removal of rain, raindrops, snow, haze and blur from video, as an OpenMMLab plugin',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The mmweather authors',
    license_expression='Apache-2.0',
    license_files=['LICENSE'],
    keywords='video restoration, deraining, dehazing, desnowing, deblurring, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Multimedia :: Video',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    python_requires='>=3.10',
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    packages=find_packages(include=['mmweather', 'mmweather.*']),
    # Spelt out as '.', so that an editable install is a plain .pth file: with setuptools' import finder the folder
    # that holds only .mim would be taken for the package.
    package_dir={'': '.'},
    package_data={'mmweather.report': ['*.html'], 'mmweather.zoo': ['*.json', '*.md', '*.safetensors'],
                  'mmweather.models.classifier': ['*.md', '*.safetensors']},
    entry_points={'console_scripts': ['mmweather = mmweather.cli.main:main']},
    cmdclass={'build_py': BuildWithMim, 'editable_wheel': EditableWithMim},
    zip_safe=False,
)
