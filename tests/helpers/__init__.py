"""What the tests share: small games, kernels, oracles in plain NumPy, hostile run folders."""
