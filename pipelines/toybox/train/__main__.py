from pipelines.toybox.train.command import main

main()
