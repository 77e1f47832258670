{
  # For tools that look for this file. The build is CMakeLists.txt through scripts/build.js, nothing else.
  "targets": [
    {
      "target_name": "hadal",
      "type": "none",
      "actions": [
        {
          "action_name": "build",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/hadal.node"],
          "action": ["node_modules/.bin/node", "scripts/build.js", "--only", "native"]
        }
      ]
    }
  ]
}
