# PMCN on all three densities of SFVC's fog together.
_base_ = ['pmcn.py', '_base_/data_sfvc.py']

beta = (0.005, 0.01, 0.02)
train_dataloader = dict(dataset=dict(beta=beta))
test_dataloader = dict(dataset=dict(beta=beta))
