"""The Blender-free half of Pantomime: photos in, captures out. Never imports bpy."""
