"""What an avatar is in Blender: mesh, armature, shape keys, materials, camera. Never imports torch, mediapipe or cv2."""
