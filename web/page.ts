document.title = 'sendall';
