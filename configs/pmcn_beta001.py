# PMCN on SFVC's fog of beta = 0.01 per metre.
_base_ = ['pmcn.py', '_base_/data_sfvc.py']

beta = 0.01
train_dataloader = dict(dataset=dict(beta=beta))
test_dataloader = dict(dataset=dict(beta=beta))
