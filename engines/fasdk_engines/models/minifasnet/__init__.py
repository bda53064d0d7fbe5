"""MiniFASNetV2 and MiniFASNetV1SE, published and deployed form."""
