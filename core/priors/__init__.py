"""What poses, hands, faces and shapes are likely: priors as least-squares residuals."""
