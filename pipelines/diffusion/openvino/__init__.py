"""Small networks on a CPU by OpenVINO."""
