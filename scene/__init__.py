"""What an avatar is in Blender: mesh, armature, shape keys, materials, camera. Never imports the solver's packages."""
