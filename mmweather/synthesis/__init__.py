"""Seeded weather: procedural scenes with exact geometry, and the weather that falls on them.

numpy and OpenCV only. Everything is a pure function of its seed and the frame index; see :mod:`.randomness`.
"""
from .depth import estimate_depth
from .domains import DOMAINS, Degraded, degrade
from .haze import HazeOn, HazyClip, haze, random_haze, stereo_haze
from .rain import Rain
from .raindrops import Raindrops
from .rainy import RainOn, RainyClip, rain_on, random_rain
from .rvsd import RVSDVideo, write_rvsd
from .scenes import Scene, SceneFrame, SceneRenderer, render_scene, scene_stream
from .sfvc import SFVCSequence, write_sfvc
from .snow import Snow, SnowOn, SnowyClip, random_snow, snow_on
from .vrds import VRDSVideo, write_vrds

__all__ = [
    'DOMAINS', 'Degraded', 'HazeOn', 'HazyClip', 'RVSDVideo', 'Rain', 'RainOn', 'Raindrops', 'RainyClip',
    'SFVCSequence', 'Scene', 'SceneFrame', 'SceneRenderer', 'Snow', 'SnowOn', 'SnowyClip', 'VRDSVideo', 'degrade',
    'estimate_depth', 'haze', 'rain_on', 'random_haze', 'random_rain', 'random_snow', 'render_scene',
    'scene_stream', 'snow_on', 'stereo_haze', 'write_rvsd', 'write_sfvc', 'write_vrds',
]
