"""Rules for each operation of a network on the way back from its answer: DeepLIFT's, LRP's, guided backpropagation's.

`lanes` is what is on its way, `opening` says what torch's functions and modules are made up of, and `walk` runs a
canonical copy by it. `rescale`, `relevance` and `rectified` are the rules. `transformers` has those of Chefer et al.,
which need no copy.
"""
