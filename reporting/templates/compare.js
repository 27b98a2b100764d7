watchDownloads();
drawPlots().then(() => { document.body.dataset.complete = ""; });
