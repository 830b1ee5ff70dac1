"""Does it help? Cross-validated comparisons of small networks, tracked with DVC and MLflow."""
