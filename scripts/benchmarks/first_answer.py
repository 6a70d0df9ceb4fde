"""What a script has to do for its first answer: import, load the weights, one saliency."""
import sys

import captum.attr
import numpy as np
import torch

import networks
import peer

torch.set_num_threads(2)
name, path, of_class = sys.argv[1], sys.argv[2], int(sys.argv[3])
module = networks.load(name)
x = torch.from_numpy(np.load(path))
captum.attr.Saliency(peer.class_sum(module, of_class)).attribute(x, abs=False)
