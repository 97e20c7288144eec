"""Steering a picture: ControlNets and T2I-Adapters, alone and together."""
