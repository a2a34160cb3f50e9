# PVDNet on GoPro ("nah"). BIMNet's weights first: bimnet_gopro.py, or the authors' BIMNet.pytorch.
_base_ = ['pvdnet.py', '_base_/data_gopro.py']
