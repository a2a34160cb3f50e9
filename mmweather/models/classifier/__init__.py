"""Which weather a picture shows: a tiny network of our own, for ``--model auto``."""
from .network import WeatherClassifier, load_classifier

__all__ = ['WeatherClassifier', 'load_classifier']
