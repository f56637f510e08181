"""Where pictures and their judges come from: CIFAR-10, shipped networks, the classifier."""
