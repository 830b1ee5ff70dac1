"""The notebook's settings, written out here rather than read from params.yaml, so that figures stay
comparable when somebody tries other settings there. Imports nothing heavy.
"""

EPOCHS = 300  # of a Sonar model; the unit "a model" means so many
SONAR = {
    "sonar-baseline": {},
    "sonar-input-dropout": {"input_dropout": 0.2},
    "sonar-hidden-dropout": {"hidden_dropout": 0.2},
}
CIFAR = {
    "cifar10-plain": {},
    "cifar10-batchnorm": {"batch_norm": True},
}
SONAR_WIDTHS = (60, 60, 30, 1)
CIFAR_WIDTHS = (3072, 64, 32, 10)
SONAR_BATCH, CIFAR_BATCH = 16, 10
SONAR_RATE, SONAR_MOMENTUM, CIFAR_RATE = 0.01, 0.8, 1e-4
SEED = 42
