"""The four networks that both sides run: PyTorch modules, and files of their weights for the daemon."""
import os
from pathlib import Path

import torch
from torch import nn

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "introspect"
FOLDER = CACHE / "bench"
N_MELS, N_LETTERS, N_FRAMES = 128, 29, 1000

# The daemon's name of each, and the layer at which Grad-CAM is read: the last convolution, with its batch norm.
SOURCES = {"W": "wav2letter-torchaudio", "E": "efficientnet-lite0", "R": "resnet18", "V": "vgg16"}
MIDDLE = {"W": "acoustic_model.10", "E": "blocks.7.bn2", "R": "layer3.0.bn2"}
LAST_CONVOLUTION = {"W": "acoustic_model.20", "E": "bn1", "R": "layer4.1.bn2", "V": "features.28"}


class Wav2Letter(nn.Module):
    """torchaudio's Wav2Letter (Collobert et al. 2016) for spectrograms, written out, since no torchaudio fits this PyTorch."""

    def __init__(self):
        super().__init__()
        middle = [(250, 250, 7, 1, 3)] * 7
        last = [(250, 2000, 32, 1, 16), (2000, 2000, 1, 1, 0), (2000, N_LETTERS, 1, 1, 0)]
        layers = []
        for n_in, n_out, kernel, stride, padding in [(N_MELS, 250, 48, 2, 23), *middle, *last]:
            layers += [nn.Conv1d(n_in, n_out, kernel, stride, padding), nn.ReLU()]
        self.acoustic_model = nn.Sequential(*layers)

    def forward(self, spectrogram):
        return nn.functional.log_softmax(self.acoustic_model(spectrogram), dim=1)


def shape(name):
    return (1, N_MELS, N_FRAMES) if name == "W" else (1, 3, 224, 224)


def weights_file(name):
    """Where the weights are that both sides load; drawn once from a fixed seed, but for E's, which are trained."""
    if name == "E":
        return CACHE / "models" / "efficientnet-lite0.pth"
    path = FOLDER / f"{SOURCES[name]}.pth"
    if not path.exists():
        torch.manual_seed(1)
        module = architecture(name)
        for layer in module.modules():
            if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                # So that activations keep their scale through the rectifiers.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.uniform_(layer.bias, -0.1, 0.1)
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_var, 1.5, 2.5)
                nn.init.uniform_(layer.running_mean, -0.1, 0.1)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(module.state_dict(), partial)
        partial.rename(path)
    return path


def architecture(name):
    """The module, with a rectifier of its own wherever one is used, as Captum wants it."""
    if name == "W":
        return Wav2Letter()
    if name == "E":
        import efficientnet_lite_pytorch

        return efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")
    import torchvision

    if name == "V":
        return torchvision.models.vgg16()
    module = torchvision.models.resnet18()
    for block in module.modules():
        if isinstance(block, torchvision.models.resnet.BasicBlock):
            block.relu_1 = nn.ReLU()
            block.forward = with_two_rectifiers(block)
    return module


class Rectifier6(nn.ReLU):
    """PyTorch's ReLU6 is no ReLU to Captum, which would leave it out of guided backpropagation."""

    def forward(self, x):
        return nn.functional.relu6(x)


def with_two_rectifiers(block):
    """torchvision's BasicBlock uses one rectifier twice."""

    def forward(x):
        beside = x if block.downsample is None else block.downsample(x)
        inner = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        return block.relu_1(inner + beside)

    return forward


def load(name):
    """The network with its weights, for evaluation, with nothing done in place."""
    module = architecture(name)
    module.load_state_dict(torch.load(weights_file(name), weights_only=True))
    for parent in list(module.modules()):
        for child_name, layer in parent.named_children():
            if isinstance(layer, nn.ReLU6):
                setattr(parent, child_name, Rectifier6())
            elif isinstance(layer, nn.ReLU):
                layer.inplace = False
    return module.eval()


def layer(module, name, of):
    """The submodule that the daemon calls so."""
    names = {"bn1": "_bn1", "blocks.7.bn2": "_blocks.7._bn2"} if name == "E" else {}
    return module.get_submodule(names.get(of, of))
