"""Classifying thousands of images to the end, on all cores, whatever interrupts it."""
